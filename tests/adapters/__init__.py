"""Tests of the adapters, of their recorded requests, and of the suite that every adapter goes through."""
