"""The servers of the demo: started together, connected to each other, and checked until they answer."""
