"""The competitions' evaluation APIs: adapters that answer them, and mocks that behave as they do."""
