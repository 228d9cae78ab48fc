"""Contract suites: inherit one in your tests and your plug-in must keep the room's promises."""
