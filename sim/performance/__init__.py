"""The performance model: the machine as SimPy processes that execute a Program."""
