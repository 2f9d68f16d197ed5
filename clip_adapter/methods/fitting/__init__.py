"""Fitting of the methods by gradient descent; imports torch, which their settings do without."""
