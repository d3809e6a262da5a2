"""Cases, articles of the handbook, and what was asked of the models."""

from django.db import models


class Case(models.Model):
    customer = models.CharField(max_length=64)
    subject = models.CharField(max_length=200)
    body = models.TextField()
    summary = models.TextField(blank=True)
    category = models.CharField(max_length=32, blank=True)
    urgency = models.IntegerField(default=0)
    state = models.CharField(max_length=16, default="new")
    created = models.DateTimeField(auto_now_add=True)

    def as_dict(self):
        return {
            "id": self.pk,
            "subject": self.subject,
            "summary": self.summary,
            "category": self.category,
            "urgency": self.urgency,
            "state": self.state,
        }


class Article(models.Model):
    title = models.CharField(max_length=200)
    body = models.TextField()
    vector = models.JSONField(default=list)


class ModelCall(models.Model):
    """One attempt at a model, written by the callbacks."""

    when = models.DateTimeField(auto_now_add=True)
    customer = models.CharField(max_length=64, blank=True)
    purpose = models.CharField(max_length=32, blank=True)
    group = models.CharField(max_length=64, blank=True)
    model = models.CharField(max_length=100)
    deployment = models.CharField(max_length=100, blank=True)
    status = models.CharField(max_length=16)
    error = models.CharField(max_length=100, blank=True)
    tokens = models.IntegerField(default=0)
    cost = models.FloatField(default=0.0)
    seconds = models.FloatField(default=0.0)
    stream = models.BooleanField(default=False)
