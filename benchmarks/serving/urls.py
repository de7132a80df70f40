"""The hub's routes, and a view of Django REST framework that does nothing, to compare with."""

from django.urls import path
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from poolhub import urls
from poolhub.urls import handler400, handler403, handler404, handler500  # noqa: F401 - looked up here


class EmptyView(APIView):
    def get(self, request: Request) -> Response:
        return Response({"status": "ok"})


urlpatterns = [path("v1/empty", EmptyView.as_view()), *urls.urlpatterns]
