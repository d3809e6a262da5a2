"""Models and prices as a registry publishes them: fetched with care, kept on disk, put over the packaged catalog."""
