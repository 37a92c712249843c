"""What an HTML page consists of, for the tests of what is shown."""

from html.parser import HTMLParser

ALONE = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """A page's elements with the names of their attributes, its text, and where it leads; all must be closed."""

    def __init__(self, html):
        super().__init__()
        self.open, self.elements, self.attributes, self.addresses, self.ids = [], [], [], [], []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.elements.append((tag, *attributes))
        self.attributes += filter(None, attributes.values())
        self.addresses += [(tag, attributes[name]) for name in ("src", "href") if name in attributes]
        self.ids += [attributes["id"]] if "id" in attributes else []
        assert tag != "img" or attributes["alt"]
        if tag not in ALONE:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_comment(self, data):
        self.elements.append(("a comment", data))

    def handle_decl(self, decl):
        self.elements.append(("a declaration", decl))

    def handle_data(self, data):
        self.text += data
