from builders.four_sites import ask, federation, li, run, sites

__all__ = ["ask", "federation", "li", "run", "sites"]
