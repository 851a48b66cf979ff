"""The commands as functions of their configurations: train, localize, evaluate, compare, visualize, export, …"""
