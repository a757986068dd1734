"""The page and its server: Gradio 6 on FastAPI with our own WebSocket. Knows no model, no torch."""
