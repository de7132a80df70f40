from importlib.util import find_spec

from django.contrib import admin
from django.urls import include, path

urlpatterns = [path("admin/", admin.site.urls)] + [
    path("", include(f"{app}.urls"))
    for app in ("miners", "matching", "feedback")
    if find_spec(app) and find_spec(f"{app}.urls")
]

handler400 = "poolhub.common.problems.bad_request"
handler403 = "poolhub.common.problems.permission_denied"
handler404 = "poolhub.common.problems.not_found"
handler500 = "poolhub.common.problems.server_error"
