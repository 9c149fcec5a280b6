"""Development tools: generators of committed files, and the checkout's environments. No product uses them."""
