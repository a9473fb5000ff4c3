"""A note, kept by three tool calls of LangChain, over both of its chat models. Prints what came of it as JSON."""

import json
import os
import sys
from typing import Any

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

url, prompt, model = sys.argv[1:]
key = os.environ["HYPEREAL_API_KEY"]


@tool
def write_note(text: str) -> str:
    """Write a note."""
    return "done"


@tool
def read_note(text: str) -> str:
    """Read a note."""
    return "done"


@tool
def edit_note(text: str) -> str:
    """Edit a note."""
    return "done"


def keep(chat: Any) -> dict[str, Any]:
    bound = chat.bind_tools([write_note, read_note, edit_note])
    messages: list[Any] = [HumanMessage(prompt)]
    calls = []
    while True:
        answer = bound.invoke(messages)
        messages.append(answer)
        if not answer.tool_calls:
            return {"calls": calls, "text": answer.text}
        for call in answer.tool_calls:
            calls.append([call["name"], call["args"]])
            messages.append(ToolMessage("done", tool_call_id=call["id"]))


print(
    json.dumps(
        {
            "chat": keep(ChatOpenAI(model=model, base_url=f"{url}/v1/managed", api_key=key, max_retries=0)),
            "messages": keep(ChatAnthropic(model=model, base_url=url, api_key=key, max_retries=0)),
        }
    )
)
