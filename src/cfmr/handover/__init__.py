"""Moments and labels for other programs: tables, subtitles, playlists, edit lists and annotation tools."""
