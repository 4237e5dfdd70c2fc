"""Stand-in for tests, written from public behaviour: the configuration that every IPython on the machine reads."""

c = get_config()  # noqa: F821 -- IPython puts it here

c.IPKernelApp.kernel_class = "google.colab._kernel.Kernel"
c.InteractiveShellApp.extensions = ["google.colab"]
c.InteractiveShellApp.reraise_ipython_extension_failures = True
c.InteractiveShellApp.matplotlib = "inline"
c.HistoryManager.hist_file = ":memory:"
c.Completer.use_jedi = False
