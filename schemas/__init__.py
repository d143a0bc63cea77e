"""The words: the canonical event (``event.py``), its id, its times, and what each provider sends.

Imports nothing of this project; ``adapters`` and ``gateway`` import it (a test keeps it so).
"""
