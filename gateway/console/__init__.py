"""The console: the ops listener's pages for people, in Chinese and English."""
