"""A server of the echo service: `server.py DIRECTORY_OF_ECHO_PROTO`. Prints its port, then one JSON line for the start and end of
each call, until its input ends."""

import json
import sys
import threading
from concurrent import futures

import grpc

sys.path.insert(0, sys.argv[1])
echo_pb2, echo_pb2_grpc = grpc.protos_and_services("echo.proto")
output = threading.Lock()


def say(**line):
    with output:
        print(json.dumps(line), flush=True)


class Call:
    """A call. Its waits end with the call."""

    def __init__(self, method, context):
        self.context = context
        self.metadata = dict(context.invocation_metadata())
        self.ended = threading.Event()
        say(started=method, user_agent=self.metadata.get("user-agent"))
        if not context.add_callback(lambda: self.end(method)):
            self.end(method)

    def end(self, method):
        self.ended.set()
        say(ended=method)

    def reply(self, request):
        if request.text == "abort":
            self.context.set_trailing_metadata([("x-shelf", "9")])
            self.context.abort(grpc.StatusCode.DATA_LOSS, "no cheese → 0 %")
        self.ended.wait(request.delay_ms / 1000)
        left = self.context.time_remaining()
        # This is grpcio's value for no deadline.
        if left is not None and left > 1e12:
            left = None
        return echo_pb2.EchoReply(
            text=request.text,
            has_deadline=left is not None,
            remaining_ms=int(max(left or 0, 0) * 1000),
            request_id=self.metadata.get("x-request-id", ""),
            traceparent=self.metadata.get("traceparent", ""),
        )


class Echo(echo_pb2_grpc.EchoServicer):
    def Unary(self, request, context):
        return Call("Unary", context).reply(request)

    def ServerStream(self, request, context):
        call = Call("ServerStream", context)
        for _ in range(request.count):
            yield call.reply(request)

    def ClientStream(self, requests, context):
        call = Call("ClientStream", context)
        requests = list(requests)
        last = echo_pb2.EchoRequest()
        last.CopyFrom(requests[-1])
        last.text = " ".join(request.text for request in requests)
        return call.reply(last)

    def Bidi(self, requests, context):
        call = Call("Bidi", context)
        for request in requests:
            yield call.reply(request)


server = grpc.server(futures.ThreadPoolExecutor(max_workers=64))
echo_pb2_grpc.add_EchoServicer_to_server(Echo(), server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
say(port=port)
sys.stdin.read()
server.stop(None)
