"""How families of models are prompted, write code and answer: a row of data each, and what reads and writes by it."""
