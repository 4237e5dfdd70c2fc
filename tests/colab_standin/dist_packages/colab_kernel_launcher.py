"""Stand-in for tests, written from public behaviour: starts a kernel that never drops a message."""

from ipykernel import kernelapp


class UnboundedKernelApp(kernelapp.IPKernelApp):
    """A kernel application whose sockets have no high-water mark."""

    def _bind_socket(self, s, port):
        # zmq reads the limit when the socket is bound, not later.
        s.set_hwm(0)
        return super()._bind_socket(s, port)


if __name__ == "__main__":
    UnboundedKernelApp.launch_instance()
