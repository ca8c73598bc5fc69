"""What is seen in a text: the seam (`api.py`) and who stands behind it, rules and words first and one encoder after."""
