import ledger
from django.db import connection
from django.http import HttpResponse
from django.urls import path
from opentelemetry import trace

tracer = trace.get_tracer(__name__)


def query():
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchall()


def work(request, number):
    ledger.note(*ledger.REQUEST, request=number)
    with tracer.start_as_current_span("by hand") as span:
        span.set_attribute("number", number)
        query()
    return HttpResponse(str(number))


urlpatterns = [path("work/<int:number>/", work)]
