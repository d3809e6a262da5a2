"""OpenAI's chat completions API, which Azure and every compatible server speak too."""
