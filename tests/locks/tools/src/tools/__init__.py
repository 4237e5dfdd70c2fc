def main():
    print("tools")
