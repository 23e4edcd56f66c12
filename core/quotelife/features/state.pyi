# C only: see state.pxd. Python reads features through quotelife.features.probe.
