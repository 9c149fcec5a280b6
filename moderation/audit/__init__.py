"""One record for each decision, sent to sinks; the first is a file that several processes can share."""
