"""`python -m tests.flows.ops`: the operator's commands in a process of their own, one JSON line in, one out.

{"command": ["balance", "alice"]}                     runs `manage.py balance alice --json`
{"page": "upstreams_route", "row": "…", "fields": {…}}  submits a form of the admin
{"task": "ledger.sweep"}                              runs what the schedule would
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import django
from django.core.management import CommandError, call_command


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hypereal.settings")
    django.setup()
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    """`{"output": text, "error": text or null}`."""
    from django.db import close_old_connections

    from hypereal.scheduler import run_task

    output = io.StringIO()
    try:
        if "task" in asked:
            run_task(asked["task"])
        elif "page" in asked:
            submit(asked["page"], asked["row"], asked["fields"])
        else:
            name, *arguments = asked["command"]
            with typed(asked["stdin"]):
                call_command(name, *arguments, "--json", stdout=output)
    except CommandError as mistake:
        return {"output": output.getvalue(), "error": str(mistake)}
    except SystemExit as ended:
        return {"output": output.getvalue(), "error": f"exit code {ended.code}"}
    finally:
        close_old_connections()
    return {"output": output.getvalue(), "error": None}


@contextmanager
def typed(text: str) -> Iterator[None]:
    """Standard input for a command: ours brings the commands themselves."""
    ours, sys.stdin = sys.stdin, io.StringIO(text)
    try:
        yield
    finally:
        sys.stdin = ours


def submit(page: str, row_id: str, fields: dict[str, str]) -> None:
    """Save a form of the admin with some fields changed and the others as they are."""
    from django.apps import apps
    from django.contrib import admin
    from django.test import Client
    from django.urls import reverse

    from apps.accounts.models import User

    operator, _ = User.objects.get_or_create(username="olga", is_staff=True, is_superuser=True)
    client = Client(headers={"host": "127.0.0.1"})
    client.force_login(operator)
    model = apps.get_model(page.replace("_", "."))
    form = admin.site.get_model_admin(model).form(instance=model._default_manager.get(pk=row_id))
    shown = {name: form[name].value() for name in form.fields}
    filled = {name: value for name, value in shown.items() if value is not None and value is not False} | fields
    reply = client.post(reverse(f"admin:{page}_change", args=[row_id]), filled)
    if reply.status_code != 302:
        raise CommandError(f"the form was not saved: {reply.status_code}")


if __name__ == "__main__":
    main()
