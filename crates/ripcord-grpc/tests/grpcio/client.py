"""A client of the echo service: `client.py DIRECTORY_OF_ECHO_PROTO ADDRESS CASE [ARGUMENT]...`. Exits with 0 on success."""

import random
import sys
import threading
import time

import grpc

sys.path.insert(0, sys.argv[1])
echo_pb2, echo_pb2_grpc = grpc.protos_and_services("echo.proto")
Request = echo_pb2.EchoRequest
Code = grpc.StatusCode

# The maximum time to wait. Only a failing case waits this long.
PATIENCE = 60


def calls(stub):
    """Returns a function for each kind of call. The function starts the call and returns a cancelable iterator of its replies."""
    return {
        "Unary": lambda request, **options: One(stub.Unary.future(request, **options)),
        "ServerStream": stub.ServerStream,
        "ClientStream": lambda request, **options: One(stub.ClientStream.future(iter([request]), **options)),
        "Bidi": lambda request, **options: stub.Bidi(iter([request]), **options),
    }


class One:
    """Makes a call with one reply look like a stream with one reply."""

    def __init__(self, future):
        self.future = future

    def __iter__(self):
        yield self.future.result()

    def cancel(self):
        return self.future.cancel()


def fails(start):
    """Returns the error of a call that must fail."""
    try:
        replies = list(start())
    except grpc.RpcError as error:
        return error
    except grpc.FutureCancelledError:
        return Canceled()
    raise AssertionError(f"it has succeeded: {replies}")


class Canceled:
    """The error of a canceled future of grpcio, with the code that grpcio's exception does not have."""

    def code(self):
        return Code.CANCELLED


def kinds(stub):
    unary = stub.Unary(Request(text="a", delay_ms=5, spawn=True), timeout=PATIENCE)
    assert unary.text == "a" and unary.has_deadline and 0 < unary.remaining_ms <= PATIENCE * 1000, unary
    assert not stub.Unary(Request(text="a")).has_deadline
    replies = list(stub.ServerStream(Request(text="b", count=3, delay_ms=5), timeout=PATIENCE))
    assert [reply.text for reply in replies] == ["b"] * 3, replies
    texts = lambda: (Request(text=text) for text in "cde")
    assert stub.ClientStream(texts(), timeout=PATIENCE).text == "c d e"
    assert [reply.text for reply in stub.Bidi(texts(), timeout=PATIENCE)] == list("cde")
    assert list(stub.Bidi(iter([]), timeout=PATIENCE)) == []
    assert list(stub.ServerStream(Request(), timeout=PATIENCE)) == []
    big = "x" * 1_000_000
    assert stub.Unary(Request(text=big), timeout=PATIENCE).text == big


def deadlines(stub):
    for ignore_context in [False, True]:
        for kind, start in calls(stub).items():
            request = Request(text="a", delay_ms=60_000, count=2, spawn=True, ignore_context=ignore_context)
            error = fails(lambda: start(request, timeout=0.2))
            assert error.code() == Code.DEADLINE_EXCEEDED, (kind, error)


def cancels(stub):
    for kind, start in calls(stub).items():
        call = start(Request(text="a", delay_ms=60_000, count=2, spawn=True))
        timer = threading.Timer(0.2, call.cancel)
        timer.start()
        error = fails(lambda: call)
        assert error.code() == Code.CANCELLED, (kind, error)


def identity(stub):
    trace = "0af7651916cd43dd8448eb211c80319c"
    metadata = [("x-request-id", "from-python"), ("traceparent", f"00-{trace}-b7ad6b7169203331-01")]
    for kind, start in calls(stub).items():
        for reply in start(Request(text="a", count=1), timeout=PATIENCE, metadata=metadata):
            assert reply.request_id == "from-python", (kind, reply)
            assert reply.traceparent.startswith(f"00-{trace}-"), (kind, reply)
    reply, call = stub.Unary.with_call(Request(text="a"), timeout=PATIENCE)
    assert dict(call.initial_metadata())["x-request-id"] == reply.request_id != ""


def statuses(stub):
    for kind, start in calls(stub).items():
        error = fails(lambda: start(Request(via_upstream=True, count=1), timeout=PATIENCE))
        assert (error.code(), error.details()) == (Code.FAILED_PRECONDITION, "there is no --upstream"), (kind, error)


def unreachable(stub):
    for kind, start in calls(stub).items():
        error = fails(lambda: start(Request(via_upstream=True, count=1), timeout=PATIENCE))
        assert (error.code(), error.details()) == (Code.UNAVAILABLE, "Service unavailable"), (kind, error)


def upstream(stub):
    metadata = [("x-request-id", "from-python")]
    for kind, start in calls(stub).items():
        [reply] = start(Request(text="a", via_upstream=True, count=1), timeout=PATIENCE, metadata=metadata)
        assert (reply.text, reply.has_deadline, reply.request_id) == ("a", True, "from-python"), (kind, reply)
        # grpcio's server rounds the time left up, by at most a tenth of a second.
        assert 0 < reply.remaining_ms <= PATIENCE * 1000 + 200, (kind, reply)
        error = fails(lambda: start(Request(text="abort", via_upstream=True, count=1), timeout=PATIENCE))
        assert (error.code(), error.details()) == (Code.DATA_LOSS, "no cheese → 0 %"), (kind, error)
        assert ("x-shelf", "9") in error.trailing_metadata(), (kind, error.trailing_metadata())
        error = fails(lambda: start(Request(text="slow", via_upstream=True, delay_ms=60_000, count=1), timeout=0.3))
        assert error.code() == Code.DEADLINE_EXCEEDED, (kind, error)
        call = start(Request(text="slow", via_upstream=True, delay_ms=60_000, count=1))
        threading.Timer(0.3, call.cancel).start()
        assert fails(lambda: call).code() == Code.CANCELLED, kind


def random_cancels(stub, seed):
    """Runs 200 streams, 20 at a time. Each is canceled at a random moment, read to its end, or ended by its deadline."""
    random.seed(seed)
    names = ["ServerStream", "ClientStream", "Bidi"]
    plans = [(random.choice(names), random.random(), random.randrange(30), random.random()) for _ in range(200)]
    errors = []

    def run(plan):
        name, what, delay_ms, moment = plan
        requests = (Request(text="a", delay_ms=delay_ms, count=5, spawn=True) for _ in range(5))
        timeout = moment * 0.15 if what > 0.8 else PATIENCE
        try:
            if name == "ServerStream":
                call = stub.ServerStream(next(requests), timeout=timeout)
            elif name == "ClientStream":
                call = One(stub.ClientStream.future(requests, timeout=timeout))
            else:
                call = stub.Bidi(requests, timeout=timeout)
            if what < 0.7:
                threading.Timer(moment * 0.15, call.cancel).start()
            for _ in call:
                if what < 0.1:
                    call.cancel()
        except grpc.FutureCancelledError:
            pass
        except grpc.RpcError as error:
            if error.code() not in (Code.CANCELLED, Code.DEADLINE_EXCEEDED):
                errors.append((plan, error))

    for start in range(0, len(plans), 20):
        threads = [threading.Thread(target=run, args=[plan]) for plan in plans[start : start + 20]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not errors, errors


def drain(stub):
    """Starts a call, reports this, and expects exactly one reply."""
    call = stub.Unary.future(Request(text="a", delay_ms=1000), timeout=PATIENCE)
    stream = stub.ServerStream(Request(text="b", delay_ms=100, count=12), timeout=PATIENCE)
    next(stream)
    print("started", flush=True)
    assert call.result().text == "a"
    assert len(list(stream)) == 11
    error = fails(lambda: [stub.Unary(Request(text="a"), timeout=PATIENCE)])
    assert error.code() == Code.UNAVAILABLE, error


def main():
    address, case, arguments = sys.argv[2], sys.argv[3], sys.argv[4:]
    with grpc.insecure_channel(address) as channel:
        globals()[case](echo_pb2_grpc.EchoStub(channel), *arguments)


main()
