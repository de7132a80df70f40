from django.urls import re_path

from feedback.views import FeedbackViewSet

urlpatterns = [re_path(r"^v1/feedback/?\Z", FeedbackViewSet.as_view({"post": "create"}))]
