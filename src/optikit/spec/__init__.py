"""Job specs and records: frozen data, no behaviour that touches the world."""
