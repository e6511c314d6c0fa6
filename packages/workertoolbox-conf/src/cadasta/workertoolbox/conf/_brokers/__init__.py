"""What a broker needs: profiles, limits, and settings that conflict with it."""
