"""``python -m tests.slowloris``: thousands of senders that never finish, and what honest ones notice of them."""
