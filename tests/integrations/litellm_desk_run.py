"""Runs the support desk: a day of it, against vendors at the addresses of the environment; prints what came of it as JSON.

`python litellm_desk_run.py FOLDER`: the folder has the project. It is one process, with Django's test client in the place of a
server, and a worker of Celery's own in a thread with its broker in memory.
"""

import json
import os
import sys
import time


def main(folder):
    os.chdir(folder)
    sys.path.insert(0, folder)
    os.environ["DJANGO_SETTINGS_MODULE"] = "desk.settings"
    import django

    django.setup()
    from celery.contrib.testing.worker import start_worker
    from django.core.management import call_command
    from django.test import Client

    call_command("migrate", run_syncdb=True, verbosity=0)
    from desk import callbacks, llm, tasks
    from desk.celery import app
    from desk.models import Article, ModelCall

    client, told = Client(), {}

    def post(path, **fields):
        answer = client.post(path, data=json.dumps(fields), content_type="application/json")
        body = b"".join(answer.streaming_content) if answer.streaming else answer.content
        return answer.status_code, body.decode() if answer.streaming else json.loads(body)

    def settle(count):
        """Wait until the callbacks have written so many rows; LiteLLM's own run in threads."""
        for _ in range(200):
            if ModelCall.objects.count() >= count:
                break
            time.sleep(0.05)
        return ModelCall.objects.count()

    told["ask"] = post("/ask", customer="ann", text="Why is the sky blue?")
    told["calls after ask"] = settle(2)
    told["stream"] = post("/stream", customer="ann", text="Tell me more.")
    told["order"] = post("/order", customer="ben", text="Where is order 4711?")
    told["too long"] = post("/ask", customer="ann", text="LONG " * 5)
    told["refused"] = post("/ask", customer="ann", text="FORBIDDEN words")
    told["poor"] = post("/ask", customer="poor", text="Why? " * 400_000)[0]
    for title in ("Brakes", "Lights"):
        Article.objects.create(title=title, body=f"All about {title.lower()}.")
    with start_worker(app, perform_ping_check=False, pool="solo", loglevel="ERROR"):
        told["indexed"] = tasks.index_articles.delay().get(timeout=60)
        created = post("/cases", customer="cat", subject="My brakes squeal", body="Since Monday.")
        for _ in range(600):
            case = client.get(f"/cases/{created[1]['id']}").json()
            if case["state"] != "new":
                break
            time.sleep(0.05)
        told["case"] = [created[0], case]
        told["report"] = [row["customer"] for row in tasks.report_spending.delay().get(timeout=60)]
    told["search"] = client.get("/search", {"q": "brakes"}).json()
    told["estimate"] = client.get("/estimate", {"text": "Why is the sky blue?"}).json()
    told["outage"] = post("/ask", customer="dan", text="Still there?")
    told["after"] = post("/ask", customer="dan", text="And now?")
    settle(14)
    time.sleep(0.2)
    told["budget"] = {name: client.get(f"/budget/{name}").json() for name in ("ann", "nobody")}
    told["calls"] = client.get("/calls").json()["calls"]
    told["failures"] = sorted(callbacks.failures)
    told["names"] = sorted(llm.router().get_model_names())
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1])
