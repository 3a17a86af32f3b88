"""The dialects that ship, one row per family, with their sources; docs/dialects.md says how each was tested.

To add one, write a row here, list it in `DIALECTS` below, and add a transcript to tests/dialects/test_families.py. For
`--dialect auto` it also needs a rule in `recognition._RULES`. A user's own dialect is a TOML file with the same fields
(`recognition.load`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sctir_kaggle.dialects.dialect import Dialect

PYTHON_TOOL: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "python",
        "description": "Runs Python code in a session that keeps its variables, and returns what it prints. numpy and "
        "sympy are installed.",
        "parameters": {
            "type": "object",
            "properties": {"code": {"type": "string", "description": "The code to run."}},
            "required": ["code"],
        },
    },
}

BOX = "{problem}\nPut the final answer in \\boxed{}."

INTEGRATE = (
    "Please integrate natural language reasoning with programs to solve the problem above, and put your final answer "
    "within \\boxed{}."
)
STEP_BY_STEP = "Please reason step by step, and put your final answer within \\boxed{}."

CHATML = "<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{problem}<|im_end|>\n<|im_start|>assistant\n"

HEADER = "### Problem: {problem}\n### Solution: "
OUTPUT_FENCE = "```output\n"
CLOSE_FENCE = "\n```"
FORCED_BOX = "\nThe answer is $\\boxed{"
"""The texts of NuminaMath's format; the recipes build training rows from them, too."""

NUMINA = Dialect(
    # project-numina/aimo-progress-prize: the chat template of stage 2, and the notebook that won AIMO-1.
    name="numina",
    prompt=HEADER,
    stop=(OUTPUT_FENCE,),
    output_begin="\n" + OUTPUT_FENCE,
    output_end=CLOSE_FENCE,
    force=FORCED_BOX,
    sampling={"temperature": 0.8, "top_p": 1.0, "max_tokens": 2048},
)

DEEPSEEK_MATH = Dialect(
    # deepseek-ai/DeepSeek-Math: README (no system prompt; BOS comes from the tokenizer), evaluation/infer.
    name="deepseek-math",
    prompt="User: {problem}\n" + INTEGRATE + "\n\nAssistant:",
    stop=("```output",),
    output_end="\n```\n",
    sampling={"max_tokens": 1024},
)

QWEN_MATH = Dialect(
    # QwenLM/Qwen2.5-Math: README (TIR, maj@8), evaluation/math_eval.py.
    name="qwen2.5-math",
    prompt=CHATML.replace("{system}", INTEGRATE),
    stop=("```output",),
    stop_tokens=("<|im_end|>", "<|endoftext|>"),
    output_end="\n```\n",
    sampling={"temperature": 0.7, "top_p": 0.8, "max_tokens": 2048},
)

QWEN_MATH_COT = replace(
    QWEN_MATH, name="qwen2.5-math-cot", prompt=CHATML.replace("{system}", STEP_BY_STEP), code="none", stop=()
)

OPENMATH_NEMOTRON = Dialect(
    # NVIDIA-NeMo/Skills: prompt/config/openmath/tir.yaml, prompt/code_tags/openmath.yaml, inference/model/code_execution.py.
    # Code comes raw, inside <think>; an output is inserted as it was printed.
    name="openmath-nemotron",
    prompt="<|im_start|>system\n<|im_end|>\n<|im_start|>user\n"
    "Solve the following math problem, integrating natural language reasoning with Python code executions.\n"
    "You may perform up to {turns} Python code calls to assist your reasoning.\n"
    "Make sure to put the answer (and only answer) inside \\boxed{}.\n\n{problem}<|im_end|>\n<|im_start|>assistant\n",
    code="tag",
    code_begin="<tool_call>",
    code_end="</tool_call>",
    stop=("</tool_call>",),
    stop_tokens=("<|im_end|>", "<|endoftext|>"),
    output_end="```\n",
    output_verbatim=True,
    remark="```system\nRemaining code executions: {left}. You will not be able to call code when you run out of executions, "
    "so use it wisely. Note that you can still continue solving the problem without code after that.\n```\n",
    last_remark="```system\nYou have run out of code executions! You can no longer write or execute code. Now you should "
    "continue solving the problem by relying on your mathematical reasoning and analytical skills.\n```\n",
    closing_turn=True,
    think_begin="<think>",
    think_end="</think>",
    sampling={"temperature": 0.6, "top_p": 0.95, "max_tokens": 32768},
)

QWEN3 = Dialect(
    # QwenLM/Qwen3: the chat template of the checkpoint, docs/source/deployment/vllm.md (thinking).
    name="qwen3",
    user=BOX,
    tool=PYTHON_TOOL,
    code="json",
    code_begin="<tool_call>",
    code_end="</tool_call>",
    stop_tokens=("<|im_end|>", "<|endoftext|>"),
    turn_end="<|im_end|>",
    output_begin="\n<|im_start|>user\n<tool_response>\n",
    output_end="\n</tool_response><|im_end|>\n<|im_start|>assistant\n",
    closing_turn=True,
    think_begin="<think>",
    think_end="</think>",
    sampling={"temperature": 0.6, "top_p": 0.95, "top_k": 20, "max_tokens": 32768},
)

HERMES = replace(
    # NousResearch/Hermes-Function-Calling: the chat template for tools of Hermes 2 and 3; other models that call in its form.
    QWEN3,
    name="hermes",
    stop_tokens=("<|im_end|>",),
    output_begin="\n<|im_start|>tool\n<tool_response>\n",
    think_begin="",
    think_end="",
    sampling={},
)

QWEN3_CODER = replace(
    # QwenLM/Qwen3-Coder, Qwen3.5: the chat template of the checkpoint, its generation_config.json.
    QWEN3,
    name="qwen3-coder",
    code="xml",
    output_end="\n</tool_response>\n<|im_end|>\n<|im_start|>assistant\n",
    sampling={"temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05, "max_tokens": 32768},
)

GPT_OSS = Dialect(
    # openai/harmony: docs/format.md; openai/gpt-oss: README (sampling), the Python tool's description as it was trained.
    name="gpt-oss",
    prompt="<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\nKnowledge cutoff: 2024-06\n"
    "Current date: {date}\n\nReasoning: {reasoning_effort}\n\n# Tools\n\n## python\n\n"
    "Use this tool to execute Python code in your chain of thought. The code will not be shown to the user. This tool should "
    "be used for internal reasoning, but not for code that is intended to be visible to the user (e.g. when creating plots, "
    "tables, or files).\n\nWhen you send a message containing Python code to python, it will be executed in a stateful "
    "Jupyter notebook environment. python will respond with the output of the execution or time out after 120.0 seconds. The "
    "drive at '/mnt/data' can be used to save and persist user files. Internet access for this session is UNKNOWN. Depends "
    "on the cluster.\n\n# Valid channels: analysis, commentary, final. Channel must be included for every message.<|end|>"
    "<|start|>developer<|message|># Instructions\n\nPut the final answer in \\boxed{}.<|end|>"
    "<|start|>user<|message|>{problem}<|end|><|start|>assistant",
    arguments={"reasoning_effort": "high"},
    code="harmony",
    code_begin="<|message|>",
    code_end="<|call|>",
    stop_tokens=("<|call|>", "<|return|>"),
    turn_end="<|call|>",
    output_begin="<|start|>python to=assistant<|channel|>analysis<|message|>",
    output_end="<|end|><|start|>assistant",
    empty_output="[WARN] No output available. Use print() to output anything to stdout to receive the output",
    closing_turn=True,
    sampling={"temperature": 1.0, "top_p": 1.0, "max_tokens": 65536},
)

LLAMA3 = Dialect(
    # meta-llama/llama-models: models/llama3_1/prompt_format.md (the interpreter), generation_config.json.
    name="llama3",
    prompt="<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nEnvironment: ipython<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n{problem}\nPut the final answer in \\boxed{}.<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    code="tag",
    code_begin="<|python_tag|>",
    stop_tokens=("<|eom_id|>", "<|eot_id|>", "<|end_of_text|>"),
    turn_end="<|eom_id|>",
    output_begin="<|start_header_id|>ipython<|end_header_id|>\n\n",
    output_end="<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    closing_turn=True,
    sampling={"temperature": 0.6, "top_p": 0.9},
)

R1 = Dialect(
    # deepseek-ai/DeepSeek-R1: README (no system prompt, sampling). These models were not taught to use an interpreter: code
    # is run where they stop for its output, inside their thinking too.
    name="r1",
    user="{problem}\nReason step by step. You may compute with Python: write a ```python block and open an ```output block "
    "behind it, which the interpreter fills in. Put your final answer within \\boxed{}.",
    opener="<think>\n",
    stop=("```output",),
    output_end="\n```\n",
    closing_turn=True,
    think_begin="<think>",
    think_end="</think>",
    sampling={"temperature": 0.6, "top_p": 0.95, "max_tokens": 32768},
)

CHAT = Dialect(
    # Any model with a chat template, instructed in words.
    name="chat",
    system="Solve the problem step by step, reasoning in words and computing with Python. Write code in a block that begins "
    "with ```python and ends with ```, print what you need to know, and end your message right after the block: it is run, "
    "and the next message is what it printed, or its traceback. Variables are kept; numpy and sympy are installed. Never "
    "write an output yourself. If an output is wrong or an error, say why and write another block. Once you know the answer, "
    "end with it in \\boxed{}: a single number.",
    stop=("```output\n",),
    output_begin="```output\n",
    output_end="\n```",
    outputs_as_messages=True,
    closing_turn=True,
    think_begin="<think>",
    think_end="</think>",
)

CHAT_SERVER = replace(
    # `engines.openai_chat` converts it to messages and back: the server has its own template.
    NUMINA,
    name="chat-server",
    think_begin="<think>",
    think_end="</think>",
    force="",
    sampling={},
)

DIALECTS: Mapping[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        *(NUMINA, DEEPSEEK_MATH, QWEN_MATH, QWEN_MATH_COT, OPENMATH_NEMOTRON, QWEN3, HERMES, QWEN3_CODER),
        *(GPT_OSS, LLAMA3, R1, CHAT, CHAT_SERVER),
    )
}
"""The rows by name, in the order in which they are listed."""
