BURSTS = {}
