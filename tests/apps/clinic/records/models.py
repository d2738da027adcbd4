from django.db import models


class Doctor(models.Model):
    name = models.CharField(max_length=500, unique=True)


class Patient(models.Model):
    name = models.CharField(max_length=500)
    doctor = models.ForeignKey(Doctor, on_delete=models.CASCADE)
