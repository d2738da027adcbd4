from django.utils.deprecation import MiddlewareMixin


class Counting(MiddlewareMixin):
    sync_capable = async_capable = True

    def process_request(self, request):
        request.counted = True

    def process_response(self, request, response):
        return response


def plain(get_response):
    def middleware(request):
        return get_response(request)

    return middleware
