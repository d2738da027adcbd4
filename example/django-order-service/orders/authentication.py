"""Lets the demo's requests in without credentials, on behalf of one ordinary user named by `DEMO_USER_ID`."""

from django.conf import settings
from django.contrib.auth.models import User
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed


class DemoUserAuthentication(BaseAuthentication):
    def authenticate(self, request):
        if not settings.DEMO_USER_ID:
            return None
        try:
            user = User.objects.get(id=settings.DEMO_USER_ID)
        except (User.DoesNotExist, ValueError):
            raise AuthenticationFailed(
                f"There is no user with DEMO_USER_ID={settings.DEMO_USER_ID!r}: run `manage.py seed_demo` or set the variable."
            ) from None
        if user.is_staff or not user.is_active:  # nobody becomes an administrator by leaving the credentials out
            raise AuthenticationFailed(
                f"DEMO_USER_ID={settings.DEMO_USER_ID!r} is a staff or inactive user: choose an ordinary one."
            )
        return user, None

    def authenticate_header(self, request):
        return "Session"
