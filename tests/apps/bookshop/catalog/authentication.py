from django.contrib.auth.models import User
from rest_framework import authentication


class HeaderAuthentication(authentication.BaseAuthentication):
    def authenticate(self, request):
        name = request.headers.get("X-User")
        return (User.objects.get(username=name), None) if name else None
