"""overpaint: how deep does RMU unlearning go?"""
