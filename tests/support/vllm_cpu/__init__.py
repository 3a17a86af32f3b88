"""What vLLM's CPU build lacks for the tests: a kernel for 8-bit GPTQ. Installable, for vLLM's worker processes."""
