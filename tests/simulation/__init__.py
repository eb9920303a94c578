"""The real server class over simulated sockets, a simulated clock and a simulated log; everything from one seed.

The pure twin alone can run here: the compiled one reads real descriptors.
"""
