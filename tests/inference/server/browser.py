"""The page of the server as a user meets it, in a browser that selenium drives."""

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

PATIENCE = 30  # seconds


class Page:
    """The page in a browser.

    Args:
        driver: of the browser.
        downloads: folder in which it puts them.
    """

    def __init__(self, driver, downloads):
        self.driver = driver
        self.downloads = downloads

    def open(self, address, languages="en-US", width=1200, touch=False):
        agent = self.driver.execute_script("return navigator.userAgent")
        override = {"userAgent": agent, "acceptLanguage": languages}
        self.driver.execute_cdp_cmd("Emulation.setUserAgentOverride", override)
        metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": touch}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.get_log("browser")  # forgets what earlier tests have left there
        self.driver.get(f"{address}/")
        self.wait_for("Ready." if languages.startswith("en") else "Готово к работе.")

    def element(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector):
        """Of all elements that are shown, also where one has to scroll to see them."""
        return self.driver.execute_script(
            """return [...document.querySelectorAll(arguments[0])]
                .filter((element) => element.checkVisibility())
                .map((element) => element.textContent.trim())""",
            selector,
        )

    def wait_for(self, start):
        """Waits for a notice that begins like this; the notice."""
        notice = self.element("#notice")
        self.wait_until(lambda: notice.text.startswith(start))
        return notice.text

    def wait_until(self, is_so):
        WebDriverWait(self.driver, PATIENCE).until(lambda _: is_so())

    def choose(self, *paths, by="#photos"):
        self.element(by).send_keys("\n".join(map(str, paths)))

    def drop(self, path):
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            event = {"type": kind, "x": 600, "y": 200, "data": data}
            self.driver.execute_cdp_cmd("Input.dispatchDragEvent", event)

    def choose_option(self, selector, start):
        for option in self.element(selector).find_elements(By.TAG_NAME, "option"):
            if option.text.startswith(start):
                option.click()

    def download(self):
        """The CSV, as the path of a file."""
        path = self.downloads / "predictions.csv"
        path.unlink(missing_ok=True)
        self.element("#download").click()
        self.wait_until(path.exists)
        return path

    def press(self, *keys):
        ActionChains(self.driver).send_keys(*keys).perform()

    @property
    def focused(self):
        return self.driver.switch_to.active_element
