"""overpaint: how deep does RMU unlearning go?"""

__version__ = "0.1.0"
