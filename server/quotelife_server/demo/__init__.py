"""The demonstration: simulated venue, service and a small OMS over real sockets, shown live and summed up."""
