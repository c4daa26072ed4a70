"""Kinds of chart that several sections draw of the tables."""
