"""A Django project that meets personal data everywhere: what tests plant goes through every way into a span.

Run as a program: serves itself over HTTP in this process, sends the requests, runs a Celery worker, a command, sends mail, and prints a JSON object
{"planted": {surface: [values]}, "raised": [...]}. Each surface gets an e-mail address, a phone number, a social security number and, where the agent
promises to hide values whatever they look like, an opaque word. Nothing here is about nuages: it is switched on from outside.
"""

import http.client
import json
import logging
import os
import sys
import threading
import urllib.parse
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

PLANTED = {}
_count = 0


def plant(surface, opaque=False):
    """Values to be hidden, joined to one text; `opaque`: also a word that no pattern could know."""
    global _count
    _count += 1
    number = _count
    values = [f"pat{number}.x@clinic-{number}.example.org", f"555-{200 + number}-{1000 + number}"]
    values.append(f"{100 + number}-45-{6000 + number}")
    if opaque:
        values.append(f"opaque{number}zq")
    PLANTED.setdefault(surface, []).extend(values)
    return " ".join(values)


def plant_word(surface):
    global _count
    _count += 1
    PLANTED.setdefault(surface, []).append(f"opaque{_count}zq")
    return PLANTED[surface][-1]


def plant_mail(surface):
    return plant(surface).split()[0]


from django.conf import settings  # noqa: E402

TEMPLATES = {
    "page.html": "{% for patient in patients %}{{ patient.doctor.name }}{% endfor %}{% include part %}",
    "part.html": "fine",
    plant("template name"): "fine",
}
NAMED = list(TEMPLATES)[2]
INCLUDED = plant("included template")
TEMPLATES[INCLUDED] = "fine"

settings.configure(
    SECRET_KEY=plant_word("SECRET_KEY"),
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF="clinic",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "records"],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "clinic.sqlite3"}},
    CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
    EMAIL_BACKEND="django.core.mail.backends.locmem.EmailBackend",
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {"loaders": [("django.template.loaders.locmem.Loader", TEMPLATES)]},
        }
    ],
    USE_TZ=True,
    LOGGING_CONFIG=None,
)
logging.disable(logging.CRITICAL)

import django  # noqa: E402

sys.modules["clinic"] = sys.modules[__name__]
django.setup()

from celery import Celery  # noqa: E402
from celery.contrib.testing.worker import start_worker  # noqa: E402
from django.contrib.auth import authenticate, login  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core import mail, management  # noqa: E402
from django.core.cache import cache  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.dispatch import Signal  # noqa: E402
from django.http import HttpResponse, StreamingHttpResponse  # noqa: E402
from django.shortcuts import render  # noqa: E402
from django.template import engines  # noqa: E402
from django.urls import path  # noqa: E402
from opentelemetry import baggage, trace  # noqa: E402
from opentelemetry import context as api_context  # noqa: E402
from records.models import Doctor, Patient  # noqa: E402

tracer = trace.get_tracer(plant("scope name"))
REDIS = os.environ["CLINIC_REDIS"]
app = Celery("clinic", broker=REDIS, backend=REDIS)
app.conf.worker_hijack_root_logger = False
discharged = Signal()


@app.task(name="clinic.discharge")
def discharge(patient, note=None, fails=False):
    logging.getLogger("clinic").error("discharging %s", patient)
    list(Patient.objects.filter(name=patient))
    if fails:
        raise RuntimeError(f"cannot discharge {note}")
    return patient


# ---- views


def search(request, who):
    list(Patient.objects.filter(name=request.GET.get("name", "")))
    return HttpResponse(who)


def form(request):
    body = request.POST.get("note") or request.body.decode()
    request.session["note"] = plant("session", opaque=True)
    Patient.objects.create(name=body, doctor=Doctor.objects.first())
    return HttpResponse("ok")


def statements(request):
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT '{plant('SQL literal', opaque=True)}' AS note")
        cursor.execute(f"SELECT 1 /* {plant('SQL comment', opaque=True)} */")
        cursor.execute("SELECT %s, %s", [plant("SQL parameter", opaque=True), 5])
        cursor.execute("SELECT :a", {"a": plant("named SQL parameter", opaque=True)})
        cursor.executemany(
            "INSERT INTO records_doctor (name) VALUES (%s)", [[plant("executemany", opaque=True)] for _ in range(2)]
        )
        broken = f"SELECT no_such_column, '{plant('broken SQL', opaque=True)}' FROM records_patient WHERE name = 'x''y'"
        for wrong in (broken, f"SELEC '{plant('SQL syntax error', opaque=True)}'"):
            try:
                cursor.execute(wrong)
            except Exception as error:
                RAISED.append(type(error).__name__)
    name = plant("unique violation", opaque=True)
    Doctor.objects.create(name=name)
    try:
        with transaction.atomic():
            Doctor.objects.create(name=name)
    except Exception as error:
        RAISED.append(type(error).__name__)
    for _ in range(7):  # one finding whose statement was written by hand
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT '{plant_word('N+1 literal')}' WHERE 1 = 1")
    return HttpResponse("ok")


def page(request):
    return render(request, "page.html", {"patients": Patient.objects.all(), "part": INCLUDED})


def templates(request):
    engines["django"].get_template(NAMED).render()
    try:
        engines["django"].get_template(plant("missing template")).render()
    except Exception as error:
        RAISED.append(type(error).__name__)
    try:
        engines["django"].from_string("{% include who %}").render({"who": plant("missing include")})
    except Exception as error:
        RAISED.append(type(error).__name__)
    return HttpResponse("ok")


def caches(request):
    key = plant("cache key").replace(" ", ":")
    cache.set(key, plant("cache value", opaque=True))
    cache.get(key)
    cache.get_many([plant_mail("cache keys"), plant_mail("cache keys")])
    cache.get_or_set(plant_mail("cache get_or_set"), lambda: plant("cached", opaque=True))
    cache.incr_version(key)
    cache.delete(plant_mail("cache delete"))
    return HttpResponse("ok")


def redis(request):
    from redis import Redis

    client = Redis.from_url(REDIS)
    client.set(plant_mail("redis key"), plant("redis value", opaque=True))
    client.hset(plant_mail("redis hash"), plant_word("redis field"), plant("redis field value", opaque=True))
    client.eval("return ARGV[1]", 0, plant("redis script argument", opaque=True))
    with client.pipeline() as pipeline:
        pipeline.set("a", plant("redis pipeline", opaque=True)).get("a").execute()
    try:
        client.execute_command("NOSUCH", plant("redis error", opaque=True))
    except Exception as error:
        RAISED.append(type(error).__name__)
    return HttpResponse("ok")


def letters(request):
    message = mail.EmailMessage(
        plant("mail subject", opaque=True),
        plant("mail body", opaque=True),
        plant_mail("mail from"),
        [plant_mail("mail to")],
        cc=[plant_mail("mail cc")],
        bcc=[plant_mail("mail bcc")],
        headers={"X-Note": plant("mail header", opaque=True)},
    )
    message.send()
    return HttpResponse("ok")


def accounts(request):
    name, password = plant_mail("user name"), plant_word("password")
    user = User.objects.create_user(name, email=name, password=password, first_name=plant_word("first name"))
    authenticate(request, username=name, password=plant_word("wrong password"))
    login(request, authenticate(request, username=name, password=password))
    user.has_perm(f"records.{plant_mail('permission')}")
    return HttpResponse("ok")


def tasks(request):
    discharge.delay(plant("task argument", opaque=True), note=plant("task keyword", opaque=True)).get(timeout=30)
    failed = discharge.apply_async(
        (plant("task argument of a failure", opaque=True),),
        {"note": plant("task exception"), "fails": True},
        headers={"note": plant("task header", opaque=True)},
    )
    try:
        failed.get(timeout=30)
    except Exception as error:
        RAISED.append(type(error).__name__)
    return HttpResponse("ok")


def by_hand(request):
    span = trace.get_current_span()
    span.set_attribute("note", plant("attribute"))
    span.set_attribute("notes", [plant("attribute list"), "x"])
    span.set_attribute(plant_mail("attribute key"), 1)
    span.set_attribute("raw", plant("bytes attribute").encode())
    span.set_attribute("app.password", plant_word("secret attribute"))
    span.set_attribute("http.url", f"https://u:{plant_word('URL password')}@x.example/?token={plant_word('URL token')}")
    span.set_attribute("db.statement", f"SELECT * FROM a WHERE b = '{plant('statement by hand', opaque=True)}'")
    span.add_event(plant("event name"), {"note": plant("event attribute")})
    other = trace.SpanContext(1, 2, True, trace.TraceFlags(1), trace.TraceState([("v", plant_mail("link tracestate"))]))
    with tracer.start_as_current_span(
        plant("span name"), links=[trace.Link(other, {"note": plant("link attribute")})]
    ) as inner:
        inner.update_name(plant("changed span name"))
        inner.set_status(trace.Status(trace.StatusCode.ERROR, plant("status description")))
    token = api_context.attach(baggage.set_baggage("patient", plant_mail("baggage set")))
    with tracer.start_as_current_span("with baggage"):
        pass
    api_context.detach(token)
    discharged.send_robust(sender=None, patient=plant("signal argument", opaque=True))
    return HttpResponse("ok")


def fails(request):
    secret = plant("local variable", opaque=True)
    try:
        raise KeyError(plant("cause"))
    except KeyError as cause:
        error = ValueError(f"no record of {plant('exception message')}")
        if hasattr(error, "add_note"):
            error.add_note(plant("exception note"))
        assert secret
        raise error from cause


def streams(request):
    def chunks():
        yield "a"
        raise RuntimeError(plant("exception while streaming"))

    return StreamingHttpResponse(chunks())


def log(request):
    logging.getLogger("django.request").error("patient %s", plant("log record", opaque=True))
    return HttpResponse("ok")


urlpatterns = [
    path("search/<str:who>/", search),
    path("form/", form),
    path("statements/", statements),
    path("page/", page),
    path("templates/", templates),
    path("caches/", caches),
    path("redis/", redis),
    path("letters/", letters),
    path("accounts/", accounts),
    path("tasks/", tasks),
    path("by-hand/", by_hand),
    path("fails/", fails),
    path("streams/", streams),
    path("log/", log),
]
RAISED = []


# ---- the program


class Handler(WSGIRequestHandler):
    def log_message(self, *_):
        pass

    def get_stderr(self):  # wsgiref writes the traceback of a broken stream there
        return open(os.devnull, "w")


class Quiet(WSGIServer):
    def handle_error(self, *_):
        pass


def send(port, method, target, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, target, body, headers or {})
    try:
        connection.getresponse().read()
    except (http.client.HTTPException, OSError):
        pass
    connection.close()


def main():
    management.call_command("migrate", run_syncdb=True, verbosity=0)
    doctors = [Doctor.objects.create(name=plant("stored name", opaque=True)) for _ in range(8)]
    for doctor in doctors:
        Patient.objects.create(name=plant("stored patient", opaque=True), doctor=doctor)
    receiver = lambda **_: (_ for _ in ()).throw(RuntimeError(plant("receiver exception")))  # noqa: E731
    discharged.connect(receiver)
    server = make_server(
        "127.0.0.1", 0, __import__("django.core.wsgi").core.wsgi.get_wsgi_application(), Quiet, Handler
    )
    port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()

    encoded = urllib.parse.quote
    query = urllib.parse.urlencode(
        {"name": plant("query"), "token": plant_word("query token"), "password": plant_word("query password")}
    )
    headers = {
        "Cookie": f"sessionid={plant_word('session cookie')}; note={plant_mail('cookie')}",
        "Authorization": f"Basic {plant_word('authorization')}",
        "User-Agent": f"agent {plant('user agent')}",
        "Referer": f"http://a.example/?mail={plant_mail('referer')}",
        "X-Forwarded-For": plant_mail("forwarded"),
        "X-Patient": plant("own header", opaque=True),
        "Baggage": f"patient={encoded(plant_mail('baggage header'))}",
        "Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "Tracestate": f"v={plant_mail('tracestate header')}",
    }
    send(port, "GET", f"/search/{encoded(plant('path'))}/?{query}", headers=headers)
    send(port, "GET", f"/search/x/?q={plant_mail('raw query')}")
    send(port, "GET", f"/nowhere/{encoded(plant('unknown path'))}/")
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    fields = {"note": plant("form field", opaque=True), "password": plant_word("form password")}
    send(port, "POST", "/form/", urllib.parse.urlencode(fields), kind)
    body = json.dumps({"note": plant("JSON body", opaque=True)})
    send(port, "POST", "/form/", body, {"Content-Type": "application/json"})
    send(port, plant_word("request method").upper(), "/search/x/")
    PLANTED["request method"] = [word.upper() for word in PLANTED["request method"]]
    for name in (
        "statements",
        "page",
        "templates",
        "caches",
        "letters",
        "accounts",
        "by-hand",
        "fails",
        "streams",
        "log",
        "redis",
    ):
        send(port, "GET", f"/{name}/")
    with start_worker(app, perform_ping_check=False, loglevel="CRITICAL"):
        send(port, "GET", "/tasks/")
    try:
        management.call_command(
            "release", plant("command argument"), secret=plant_word("command password"), note=plant("command option")
        )
    except RuntimeError as error:
        RAISED.append(type(error).__name__)
    server.shutdown()
    provider = trace.get_tracer_provider()
    if hasattr(provider, "force_flush"):
        provider.force_flush(30_000)


if __name__ == "__main__":
    main()
    print(json.dumps({"planted": PLANTED, "raised": RAISED}))
