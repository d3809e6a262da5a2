"""The addresses of the desk."""

from django.urls import path

from . import views

urlpatterns = [
    path("ask", views.ask),
    path("stream", views.stream),
    path("order", views.order),
    path("cases", views.new_case),
    path("cases/<int:pk>", views.case),
    path("search", views.search),
    path("budget/<str:customer>", views.budget),
    path("calls", views.calls),
    path("estimate", views.estimate),
]
