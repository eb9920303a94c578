"""The loops that enter the kernel once for each connection and turn: reading members, and sending to them."""
