"""The demo: a federation of four hospitals on one machine, asked, attacked and verified."""
