"""Where kagent's counters go. An exporter never stops delivery."""
